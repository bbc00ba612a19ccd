// Controls that a screen reader has no name for.
() => {
  const controls = '#stMain :is(button, input, select, textarea, a)';
  const named = (e) => e.ariaLabel || e.innerText.trim() || e.title || (e.labels && e.labels.length);
  return [...document.querySelectorAll(controls)]
    .filter((e) => e.checkVisibility() && !named(e))
    .map((e) => e.outerHTML.slice(0, 160));
}
