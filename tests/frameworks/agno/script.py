from tests.frameworks.scripted_model import Reply

SCRIPT = {
    "leader": [
        Reply(
            tools=[("delegate_task_to_member", {"member_id": "billing", "task": "find order 7"})], delegates=["billing"]
        ),
        Reply(text="It is on its way."),
        Reply(tools=[("delegate_task_to_member", {"member_id": "tech", "task": "repair"})], delegates=["tech"]),
        Reply(text="Nobody can."),
    ],
    "billing": [Reply(tools=[("lookup_order", {"order": "7"})]), Reply(text="shipped")],
    "tech": [Reply(status=400, text="the model refuses")],
}
SAYS = ["1: It is on its way.", "2: Nobody can."]
ERRORS = [("tech", True)]
SESSIONS = {"conv-1": "success", "conv-2": "success"}
UNNAMED = []
CONTEXTS = []
