"""DSPy: a program of named modules, two of them in parallel; a model that fails."""

import os

import dspy

dspy.configure(
    lm=dspy.LM(
        "openai/gpt-4.1-mini", api_base=os.environ["OPENAI_BASE_URL"], api_key="scripted", cache=False, num_retries=0
    )
)


def signature(name: str, spec: str) -> dspy.Signature:
    return dspy.Signature(spec, f"[agent:{name}] You are {name}.")


class Desk(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.planner = dspy.Predict(signature("planner", "question -> plan"))
        self.writer = dspy.Predict(signature("writer", "plan -> answer"))

    def forward(self, question: str) -> dspy.Prediction:
        return self.writer(plan=self.planner(question=question).plan)


print("1:", Desk()(question="Where is order 7?").answer)


class Repair(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tech = dspy.Predict(signature("tech", "question -> answer"))

    def forward(self, question: str) -> dspy.Prediction:
        return self.tech(question=question)


try:
    Repair()(question="dead")
except Exception as error:
    print("2:", type(error).__name__)
