"""CrewAI: tasks in sequence, a manager that delegates to coworkers, a model that fails."""

import os

from crewai import LLM, Agent, Crew, Process, Task
from crewai.tools import tool


def model() -> LLM:
    return LLM(model="openai/gpt-4.1-mini", base_url=os.environ["OPENAI_BASE_URL"], api_key="scripted", max_retries=0)


def agent(role: str, **more: object) -> Agent:
    return Agent(
        role=role, goal=f"be {role}", backstory=f"[agent:{role}]", llm=model(), max_retry_limit=0, verbose=False, **more
    )


@tool("lookup_order")
def lookup_order(order: str) -> str:
    """Where an order is."""
    return f"{order}: shipped"


def sequential() -> None:
    researcher, writer = agent("researcher", tools=[lookup_order]), agent("writer")
    find = Task(description="Find order 7", expected_output="where it is", agent=researcher)
    write = Task(description="Write it up", expected_output="a line", agent=writer, context=[find])
    print("1:", Crew(agents=[researcher, writer], tasks=[find, write]).kickoff().raw)


def hierarchical() -> None:
    expert = agent("expert")
    task = Task(description="Explain foxes", expected_output="a line")
    crew = Crew(
        agents=[expert],
        tasks=[task],
        process=Process.hierarchical,
        manager_agent=agent("manager", allow_delegation=True),
    )
    print("2:", crew.kickoff().raw)


def failing() -> None:
    tech = agent("tech")
    try:
        Crew(agents=[tech], tasks=[Task(description="Repair", expected_output="ok", agent=tech)]).kickoff()
    except Exception as error:
        print("3:", type(error).__name__)


sequential()
hierarchical()
failing()
