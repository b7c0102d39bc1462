from tests.frameworks.scripted_model import Reply

SCRIPT = {
    "triage": [Reply(tools=[("transfer_to_billing", {})], hands_to=["billing"])],
    "billing": [Reply(tools=[("lookup_order", {"order": "7"})]), Reply(text="It is on its way.")],
    "supervisor": [
        Reply(tools=[("transfer_to_researcher", {})], hands_to=["researcher"]),
        Reply(tools=[("transfer_to_writer", {})], hands_to=["writer"]),
        Reply(text="Here it is."),
    ],
    "researcher": [Reply(text="Foxes are red.", hands_to=["supervisor"])],
    "writer": [Reply(text="A red fox.", hands_to=["supervisor"])],
    "planner": [Reply(text="two things", hands_to=["weather", "hotels"])],
    "weather": [Reply(text="sunny", delay=0.2, hands_to=["aggregator"])],
    "hotels": [Reply(text="full", delay=0.2, hands_to=["aggregator"])],
    "aggregator": [Reply(text="stay at home")],
    "tech": [
        Reply(tools=[("reboot", {"device": "router"})], fails=["reboot"]),
        Reply(status=400, text="the model refuses"),
    ],
}

SAYS = ["1: It is on its way.", "2: Here it is.", "3: 4", "4: RuntimeError", "5: OpenAIInvalidRequestError"]
ERRORS = [("tech", False), ("tech", False)]
SESSIONS = {"conv-1": "success", "conv-2": "success", "conv-3": "success", "conv-4": "failure", "conv-5": "failure"}
UNNAMED = []
CONTEXTS = [("triage", "billing"), ("supervisor", "researcher"), ("supervisor", "writer")]
FUNCTIONS = ["lookup_order", "reboot"]
