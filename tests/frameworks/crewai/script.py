from tests.frameworks.scripted_model import Reply

SCRIPT = {
    "researcher": [
        Reply(tools=[("lookup_order", {"order": "7"})]),
        Reply(text="It is on its way.", hands_to=["writer"]),
    ],
    "writer": [Reply(text="Order 7 is on its way.")],
    "manager": [
        Reply(
            tools=[
                (
                    "delegate_work_to_coworker",
                    {"task": "explain foxes", "context": "for children", "coworker": "expert"},
                )
            ],
            delegates=["expert"],
        ),
        Reply(text="Foxes are red."),
    ],
    "expert": [Reply(text="red")],
    "tech": [Reply(status=400, text="the model refuses")],
}
SAYS = ["1: Order 7 is on its way.", "2: Foxes are red.", "3: BadRequestError"]
ERRORS = [("tech", False)]
SESSIONS = {}
UNNAMED = ["failure", "success", "success"]
CONTEXTS = []
