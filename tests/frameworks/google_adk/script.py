from functools import partial

from tests.frameworks import scripted_model

# ADK counts reasoning on top of the output, as Gemini does, also where LiteLLM has it in the output already.
Reply = partial(scripted_model.Reply, reasons=False)

SCRIPT = {
    "triage": [Reply(tools=[("transfer_to_agent", {"agent_name": "billing"})], hands_to=["billing"])],
    "billing": [Reply(tools=[("lookup_order", {"order": "7"})]), Reply(text="It is on its way.")],
    "weather": [Reply(text="sunny")],
    "hotels": [Reply(text="full")],
    "tech": [Reply(status=400, text="the model refuses")],
}
SAYS = ["1: It is on its way.", "2: True", "3: BadRequestError"]
ERRORS = [("tech", False)]
SESSIONS = {"conv-1": "success", "conv-2": "success", "conv-3": "failure"}
UNNAMED = []
CONTEXTS = []
WITHOUT_MODEL = ["pair"]  # an agent to ADK, and one that only runs others
FUNCTIONS = ["lookup_order", "transfer_to_agent"]
ENVIRON = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # else the program itself fetches prices from GitHub
