from tests.frameworks.scripted_model import Reply

SCRIPT = {
    "planner": [Reply(text="[[ ## plan ## ]]\nlook it up\n\n[[ ## completed ## ]]", hands_to=["writer"])],
    "writer": [Reply(text="[[ ## answer ## ]]\nIt is on its way.\n\n[[ ## completed ## ]]")],
    "tech": [Reply(status=400, text="the model refuses")],
}
SAYS = ["1: It is on its way.", "2: LMInvalidRequestError"]
ERRORS = [("tech", False)]
SESSIONS = {}
UNNAMED = ["failure", "success"]
CONTEXTS = []
ENVIRON = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # else the program itself fetches prices from GitHub
