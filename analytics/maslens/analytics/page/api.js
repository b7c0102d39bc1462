// The REST API, asked as everybody else asks it.

export async function ask(path, params = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== undefined && value !== ""));
  const answer = await fetch(`api/v1/${path}${query.size ? `?${query}` : ""}`, { headers: { accept: "application/json" } });
  if (!answer.ok) {
    const detail = await answer.json().catch(() => ({}));
    const said = typeof detail.detail === "string" ? detail.detail : "";
    throw Object.assign(new Error(said || `${answer.status} ${answer.statusText}`), { status: answer.status });
  }
  return answer.json();
}
