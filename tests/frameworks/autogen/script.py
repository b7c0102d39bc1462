from tests.frameworks.scripted_model import Reply

SCRIPT = {
    "triage": [Reply(tools=[("transfer_to_billing", {})], hands_to=["billing"])],
    "billing": [Reply(tools=[("lookup_order", {"order": "7"})]), Reply(text="On its way. DONE")],
    "writer": [Reply(text="A red fox.", hands_to=["critic"]), Reply(text="A quick red fox.")],
    "critic": [Reply(text="Which fox?", hands_to=["writer"])],
    "tech": [Reply(status=400, text="the model refuses")],
}
SAYS = ["1: On its way. DONE", "2: A quick red fox.", "3: RuntimeError"]
ERRORS = [("tech", False)]
SESSIONS = {}
UNNAMED = ["failure", "success", "success"]
CONTEXTS = [("triage", "billing")]
FUNCTIONS = ["lookup_order"]
