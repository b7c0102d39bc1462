// Before anything is painted: the theme that was chosen, or the system's.
document.documentElement.dataset.theme =
  localStorage.getItem("maslens.theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
