// Math: the same on every machine.

// Sums and roots are exact everywhere; these differ between math libraries, so they come from one.
for (const name of keys(host.math)) {
  const native = host.math[name];
  hide(Math, name, native.length === 2
    ? { [name](x, y) { return native(+x, +y); } }[name]
    : { [name](x) { return native(+x); } }[name]);
}
const { pow: portablePow, hypot: portableHypot } = host.math;
hide(Math, 'pow', function pow(x, y) {
  x = +x;
  y = +y;
  // Where JavaScript departs from IEEE 754.
  if ((x === 1 || x === -1) && y - y !== 0) return NaN;
  return portablePow(x, y);
});
hide(Math, 'hypot', function hypot(...values) {
  let sum = 0, nan = false;
  for (let i = 0; i < values.length; i++) {
    const value = +values[i];
    if (value === Infinity || value === -Infinity) sum = Infinity;
    else if (value !== value) nan = true;
    else if (sum !== Infinity) sum = portableHypot(sum, value);
  }
  return sum !== Infinity && nan ? NaN : sum;
});
hide(Math, 'random', function random_() {
  // At load Redux draws names for its private action types; the stream is the same on every node.
  if (running === REDUCER) throw clockError('Math.random()', '`random`');
  return random();
});
