// One request of many spans, and whether the exporter believes that it arrived: node many.mjs http|proto URL NAME NUMBER
import { ExportResultCode } from "@opentelemetry/core";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";

const [transport, url, name, number] = process.argv.slice(2);
const { OTLPTraceExporter } = await import(`@opentelemetry/exporter-trace-otlp-${transport}`);
const exporter = new OTLPTraceExporter({ url, timeoutMillis: Number(process.env.TIMEOUT ?? 10000) });
const kept = new InMemorySpanExporter();
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(kept)] });
const tracer = provider.getTracer("maslens.javascript.test");
const attributes = {
  "gen_ai.operation.name": "chat",
  "gen_ai.conversation.id": name,
  "gen_ai.request.model": "m",
};
for (let made = 0; made < Number(number); made += 1) tracer.startSpan(name, { attributes }).end();
const result = await new Promise((resolve) => exporter.export(kept.getFinishedSpans(), resolve));
await exporter.shutdown();
console.log(JSON.stringify({ success: result.code === ExportResultCode.SUCCESS, error: String(result.error ?? "") }));
