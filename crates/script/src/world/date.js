// Date: in UTC everywhere, and without a clock of its own.

const DatePrototype = NativeDate.prototype;
const nativeParse = NativeDate.parse, nativeUTC = NativeDate.UTC;
// Other formats are read by local time and differ between engines: invalid, as the standard allows.
function parseDate(text) {
  text = String(text);
  if (matches(/^([+-]\d{6}|\d{4})(-\d\d(-\d\d)?)?T\d\d:\d\d(:\d\d([.,]\d+)?)?$/, text)) return nativeParse(text + 'Z');
  if (matches(/^([+-]\d{6}|\d{4})(-\d\d(-\d\d)?)?(T\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d))?$/, text)
    || matches(/(GMT|UTC|Z)([+-]\d\d:?\d\d)?( \(.*\))?$/, text)) return nativeParse(text);
  return NaN;
}
function ConfluxDate(...parts) {
  if (new.target === undefined) return new ConfluxDate(nowFor('Date()')).toString();
  let value;
  if (parts.length === 0) value = nowFor('new Date()');
  else if (parts.length > 1) value = apply(nativeUTC, NativeDate, parts);
  else if (parts[0] instanceof NativeDate) value = apply(DatePrototype_getTime, parts[0], []);
  else {
    const part = typeof parts[0] === 'object' && parts[0] !== null ? apply(toPrimitive, parts[0], []) : parts[0];
    value = typeof part === 'string' ? parseDate(part) : part;
  }
  return construct(NativeDate, [value], new.target);
}
const DatePrototype_getTime = DatePrototype.getTime;
const toPrimitive = function () {
  return typeof this.valueOf() === 'object' ? String(this) : this.valueOf();
};
hide(ConfluxDate, 'name', 'Date');
defineProperty(ConfluxDate, 'length', { value: 7 });
defineProperty(ConfluxDate, 'prototype', { value: DatePrototype, writable: false });
hide(ConfluxDate, 'now', function now() { return nowFor('Date.now()'); });
hide(ConfluxDate, 'parse', function parse(text) { return parseDate(text); });
hide(ConfluxDate, 'UTC', nativeUTC);
hide(DatePrototype, 'constructor', ConfluxDate);
hide(global, 'Date', ConfluxDate);
for (const part of ['FullYear', 'Month', 'Date', 'Day', 'Hours', 'Minutes', 'Seconds', 'Milliseconds']) {
  hide(DatePrototype, 'get' + part, DatePrototype['getUTC' + part]);
  if (part !== 'Day') hide(DatePrototype, 'set' + part, DatePrototype['setUTC' + part]);
}
hide(DatePrototype, 'getTimezoneOffset', function getTimezoneOffset() {
  return this.getTime() === this.getTime() ? 0 : NaN;
});
hide(DatePrototype, 'getYear', function getYear() { return this.getUTCFullYear() - 1900; });
hide(DatePrototype, 'setYear', function setYear(year) {
  year = +year;
  return this.setUTCFullYear(year >= 0 && year <= 99 ? 1900 + Math.trunc(year) : year);
});
// "Thu, 01 Jan 1970 00:00:00 GMT" is where the other forms come from.
const { toUTCString, toISOString } = DatePrototype;
const words = (date) => apply(toUTCString, date, []).split(' ');
const valid = (date) => apply(DatePrototype_getTime, date, []) === apply(DatePrototype_getTime, date, []);
const dateText = (date) => { const w = words(date); return w[0].slice(0, 3) + ' ' + w[2] + ' ' + w[1] + ' ' + w[3]; };
const timeText = (date) => words(date)[4] + ' GMT+0000 (Coordinated Universal Time)';
const forms = {
  toString() { return valid(this) ? dateText(this) + ' ' + timeText(this) : 'Invalid Date'; },
  toDateString() { return valid(this) ? dateText(this) : 'Invalid Date'; },
  toTimeString() { return valid(this) ? timeText(this) : 'Invalid Date'; },
  toLocaleString() { return valid(this) ? apply(toISOString, this, []).slice(0, 19).replace('T', ' ') : 'Invalid Date'; },
  toLocaleDateString() { return valid(this) ? apply(toISOString, this, []).split('T')[0] : 'Invalid Date'; },
  toLocaleTimeString() { return valid(this) ? apply(toISOString, this, []).split('T')[1].slice(0, 8) : 'Invalid Date'; },
};
for (const name of keys(forms)) hide(DatePrototype, name, forms[name]);

hide(global, 'performance', {
  now() {
    if (running !== METHOD) throw clockError('performance.now()', '`elapsed`');
    return elapsed;
  },
});

// Not there at all, so that libraries which look for them find that out and do without; where they are used all the
// same, the ReferenceError that comes of it is explained by Rust (explain.rs).
for (const name of host.absent) delete global[name];
