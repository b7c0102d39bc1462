from tests.frameworks.scripted_model import Reply

SCRIPT = {
    "triage": [Reply(tools=[("handoff_to_billing", {})], hands_to=["billing"])],
    "billing": [Reply(tools=[("lookup_order", {"order": "7"})]), Reply(text="It is on its way.")],
    "writer": [Reply(text="A red fox.", hands_to=["critic"])],
    "critic": [Reply(text="Good.")],
    "tech": [Reply(status=400, text="the model refuses")],
}
SAYS = ["1: True", "2: True", "3: ChatClientException"]
ERRORS = [("tech", False)]
SESSIONS = {"conv-3": "failure"}
UNNAMED = ["success", "success"]
CONTEXTS = []
