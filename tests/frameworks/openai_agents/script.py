from tests.frameworks.scripted_model import Reply

SCRIPT = {
    "triage": [
        Reply(tools=[("transfer_to_billing", {})], hands_to=["billing"]),
        Reply(tools=[("transfer_to_billing", {})], hands_to=["billing"]),
        Reply(tools=[("transfer_to_tech", {})], hands_to=["tech"]),
        Reply(status=400, text="the model refuses"),
    ],
    "billing": [
        Reply(tools=[("lookup_order", {"order": "7"})]),
        Reply(tools=[("translate", {"input": "shipped"})], delegates=["translator"]),
        Reply(text="Elle est en route."),
        Reply(text="As I said."),
    ],
    "translator": [Reply(text="en route")],
    "tech": [Reply(tools=[("reboot", {"device": "router"})], fails=["reboot"])],
}

SAYS = ["1: Elle est en route.", "2: As I said.", "3: UserError", "4: BadRequestError"]
ERRORS = [("tech", False), ("triage", False)]
SESSIONS = {"conv-1": "success", "conv-2": "success", "conv-3": "failure", "conv-4": "failure"}
UNNAMED = []
CONTEXTS = [("triage", "billing"), ("triage", "billing"), ("triage", "tech")]
FUNCTIONS = ["lookup_order", "reboot"]
