from tests.frameworks.scripted_model import Reply

SCRIPT = {
    "triage": [
        Reply(tools=[("transfer_to_billing", {})], handoff="billing"),
        Reply(tools=[("transfer_to_billing", {})], handoff="billing"),
        Reply(tools=[("transfer_to_tech", {})], handoff="tech"),
        Reply(status=400, text="the model refuses"),
    ],
    "billing": [
        Reply(tools=[("lookup_order", {"order": "7"})]),
        Reply(tools=[("translate", {"input": "shipped"})], delegates=["translator"]),
        Reply(text="Elle est en route."),
        Reply(text="As I said."),
    ],
    "translator": [Reply(text="en route")],
    "tech": [Reply(tools=[("reboot", {"device": "router"})])],
}
