from tests.frameworks.scripted_model import Reply

SCRIPT = {
    "manager": [
        Reply(tools=[("billing", {"task": "find order 7"})], delegates=["billing"]),
        Reply(tools=[("final_answer", {"answer": "It is on its way."})]),
        Reply(tools=[("tech", {"task": "repair it"})], delegates=["tech"]),
        Reply(tools=[("final_answer", {"answer": "Nobody can."})]),
    ],
    "billing": [
        Reply(tools=[("lookup_order", {"order": "7"})]),
        Reply(tools=[("final_answer", {"answer": "shipped"})]),
    ],
    "tech": [Reply(status=400, text="the model refuses")],
}
SAYS = ["1: It is on its way.", "2: Nobody can."]
ERRORS = [("tech", True)]
SESSIONS = {}
UNNAMED = ["success", "success"]
CONTEXTS = []
