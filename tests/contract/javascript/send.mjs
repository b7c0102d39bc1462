// One workflow of two agents and a handoff, through one of the stock exporters: node send.mjs http|proto|grpc URL SERVICE
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";

const [transport, url, service] = process.argv.slice(2);
const { OTLPTraceExporter } = await import(`@opentelemetry/exporter-trace-otlp-${transport}`);
const compression = process.env.COMPRESSION ?? "none";
const exporter = new OTLPTraceExporter({ url, compression });
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ "service.name": service }),
  spanProcessors: [new BatchSpanProcessor(exporter)],
});
const tracer = provider.getTracer("maslens.javascript.test");

function span(name, attributes, parent, kind = SpanKind.INTERNAL) {
  const context = parent ? trace.setSpan(ROOT_CONTEXT, parent) : ROOT_CONTEXT;
  return tracer.startSpan(name, { kind, attributes }, context);
}

const workflow = span("invoke_workflow desk", {
  "gen_ai.operation.name": "invoke_workflow",
  "gen_ai.workflow.name": "desk",
  "gen_ai.conversation.id": `conversation-${service}`,
});
const triage = span("invoke_agent triage", { "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "triage" }, workflow);
const chat = span("chat gpt-4.1-mini", {
  "gen_ai.operation.name": "chat",
  "gen_ai.provider.name": "openai",
  "gen_ai.request.model": "gpt-4.1-mini",
  "gen_ai.usage.input_tokens": 101,
  "gen_ai.usage.output_tokens": 11,
  "gen_ai.response.finish_reasons": ["tool_calls"],
  "app.ratio": 0.5,
  "app.flags": [true, false],
}, triage, SpanKind.CLIENT);
chat.end();
const transfer = span("execute_tool transfer_to_billing", {
  "gen_ai.operation.name": "execute_tool",
  "gen_ai.tool.name": "transfer_to_billing",
  "gen_ai.transfer.mode": "pass_control",
  "gen_ai.transfer.target.name": "billing",
  "gen_ai.agent.name": "triage",
}, triage);
transfer.end();
triage.end();
const billing = span("invoke_agent billing", { "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "billing" }, workflow);
billing.addEvent("note", { text: "häßlich 😀" });
billing.setStatus({ code: SpanStatusCode.ERROR, message: "invoice not found" });
billing.end();
workflow.end();

await provider.forceFlush();
await provider.shutdown();
console.log(JSON.stringify({ traceId: workflow.spanContext().traceId, spans: 5 }));
