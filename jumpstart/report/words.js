// Words and names as the pages write them: numbers, shares, and names whose characters can all be seen.
const words = (() => {
  "use strict";
  const format = (number) => number.toLocaleString("en-US");
  const count = (number, noun) => `${format(number)} ${noun}${number === 1 ? "" : "s"}`;

  function percent(share) {
    if (share > 0 && share < 0.0005) return "< 0.1 %";
    if (share < 1 && share >= 0.9995) return "> 99.9 %";
    return `${(100 * share).toFixed(1)} %`;
  }

  // A name on one line, with the characters that cannot be seen as escapes: the same as visible() in literal.py.
  function visible(name) {
    const hidden = /((?<=[^\0-\x7f\u200c\u200d])[\u200c\u200d](?=[^\0-\x7f\u200c\u200d]))|[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
    const short = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
    return name.replace(hidden, (sign, joiner) => {
      const code = sign.codePointAt(0);
      const [letter, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
      return joiner || short[sign] || `\\${letter}${code.toString(16).padStart(digits, "0")}`;
    });
  }

  // By code points: half of a surrogate pair would be drawn as an unknown character.
  function shorten(name, most) {
    const signs = [...visible(name)];
    return signs.length > most ? `${signs.slice(0, most - 1).join("")}…` : signs.join("");
  }

  return { count, format, percent, shorten, visible };
})();
