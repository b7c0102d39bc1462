from tests.frameworks.scripted_model import Reply

SCRIPT = {
    "triage": [Reply(tools=[("handoff", {"to_agent": "billing", "reason": "a bill"})], hands_to=["billing"])],
    "billing": [Reply(tools=[("lookup_order", {"order": "7"})]), Reply(text="It is on its way.")],
    "tech": [Reply(status=400, text="the model refuses")],
}
SAYS = ["1: It is on its way.", "2: BadRequestError"]
ERRORS = [("tech", False)]
SESSIONS = {}
UNNAMED = ["failure", "success"]
CONTEXTS = [("triage", "billing")]
