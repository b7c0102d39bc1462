from tests.frameworks.scripted_model import Reply

SCRIPT = {
    "triage": [
        Reply(tools=[("handoff_to_agent", {"agent_name": "billing", "message": "order 7"})], hands_to=["billing"]),
        Reply(text="Handed over."),
    ],
    "billing": [Reply(tools=[("lookup_order", {"order": "7"})]), Reply(text="It is on its way.")],
    "manager": [Reply(tools=[("ask_expert", {"question": "why"})], delegates=["expert"]), Reply(text="Because.")],
    "expert": [Reply(text="because")],
    "tech": [Reply(status=400, text="the model refuses")],
}
SAYS = ["1: completed", "2: Because.", "3: BadRequestError"]
ERRORS = [("tech", False)]
SESSIONS = {}
UNNAMED = ["failure", "success", "success"]
CONTEXTS = []
