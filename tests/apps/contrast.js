// Texts on the page whose contrast with what is behind them is below WCAG's AA, 4.5 : 1.
() => {
  const parse = (text) => {
    const parts = text.match(/[\d.]+/g).map(Number);
    return parts.length < 4 ? [...parts, 1] : parts;
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) =>
    0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ancestors = (element) => (element ? [...ancestors(element.parentElement), element] : []);
  const low = [];
  const main = document.querySelector('#stMain');
  const texts = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.data.trim();
    const element = texts.currentNode.parentElement;
    if (!text || !element.checkVisibility()) continue;
    if (element.closest('[disabled], [aria-disabled=true], .katex-mathml, svg, style, script')) continue;
    let ground = [255, 255, 255, 1];
    let opacity = 1;
    for (const each of ancestors(element)) {
      const style = getComputedStyle(each);
      ground = over(parse(style.backgroundColor), ground);
      opacity *= Number(style.opacity);
    }
    const ink = parse(getComputedStyle(element).color);
    const shown = over([ink[0], ink[1], ink[2], ink[3] * opacity], ground);
    const [high, lower] = [light(shown), light(ground)].sort((p, q) => q - p);
    const ratio = (high + 0.05) / (lower + 0.05);
    if (ratio < 4.5) low.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return low;
}
