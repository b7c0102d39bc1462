from tests.frameworks.scripted_model import Reply

SCRIPT = {
    "triage": [Reply(tools=[("transfer_to_billing", {})], handoff="billing")],
    "billing": [Reply(tools=[("lookup_order", {"order": "7"})]), Reply(text="It is on its way.")],
    "supervisor": [
        Reply(tools=[("transfer_to_researcher", {})], handoff="researcher"),
        Reply(tools=[("transfer_to_writer", {})], handoff="writer"),
        Reply(text="Here it is."),
    ],
    "researcher": [Reply(text="Foxes are red.", handoff="supervisor")],
    "writer": [Reply(text="A red fox.", handoff="supervisor")],
    "planner": [Reply(text="two things")],
    "weather": [Reply(text="sunny", delay=0.2)],
    "hotels": [Reply(text="full", delay=0.2)],
    "aggregator": [Reply(text="stay at home")],
    "tech": [Reply(tools=[("reboot", {"device": "router"})]), Reply(status=400, text="the model refuses")],
}
