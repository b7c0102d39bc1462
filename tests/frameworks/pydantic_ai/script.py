from tests.frameworks.scripted_model import Reply

SCRIPT = {
    "triage": [
        Reply(tools=[("ask_billing", {"question": "Where is 7?"})], delegates=["billing"]),
        Reply(text="It is on its way."),
        Reply(text="That one too."),
    ],
    "billing": [Reply(tools=[("lookup_order", {"order": "7"})]), Reply(text="shipped")],
    "tech": [
        Reply(tools=[("reboot", {"device": "router"})], fails=["reboot"]),
        Reply(status=400, text="the model refuses"),
    ],
}
SAYS = ["1: It is on its way.", "2: That one too.", "3: RuntimeError", "4: ModelRequestRejectedError"]
ERRORS = [("tech", False), ("tech", False)]
SESSIONS = {}
UNNAMED = ["failure", "failure", "success", "success"]
CONTEXTS = []
