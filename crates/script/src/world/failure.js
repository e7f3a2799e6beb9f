// What a throw means: a rejection, or a bug.

class Rejected {
  constructor(message, data) {
    this.message = message;
    this.data = data;
  }
}

function rejectionText(message) {
  if (message === undefined) return 'rejected';
  if (message instanceof Error) return String(message.message) || String(message.name) + ' without a message';
  if (typeof message !== 'object' || message === null) return String(message);
  try {
    return stringify(message) ?? show(message);
  } catch (error) {
    if (isOutOfMemory(error)) throw error;
    return show(message);
  }
}

function reject(message, data) {
  throw new Rejected(rejectionText(message), data);
}

const isBug = (error) =>
  error instanceof TypeError || error instanceof ReferenceError || error instanceof RangeError
  || error instanceof SyntaxError || error instanceof InternalError || error instanceof URIError
  || error instanceof EvalError;
// Rust knows of it, too; here there is no memory left to do anything about it.
const isOutOfMemory = (error) => error instanceof InternalError && error.message === 'out of memory';

const MESSAGE_MAX = [0, 4096];
const String_slice = String.prototype.slice;
const shortened = (text) => (text.length > MESSAGE_MAX[1] ? apply(String_slice, text, MESSAGE_MAX) + '…' : text);

// A failure as Rust reads it: kind F, and JSON.
const failed = (message, stack, at) =>
  'F' + stringify({ message: shortened(message).toWellFormed(), stack: stack === undefined ? stack : stack.toWellFormed(), at });

function thrownText(error) {
  if (error instanceof Error) return String(error.name) + ': ' + String(error.message);
  if (error instanceof Rejected) return 'reject(' + stringify(error.message) + ')';
  return 'threw ' + show(error) + ', which is no Error; throw an Error instead';
}

const stackOf = (error) => (error instanceof Error && typeof error.stack === 'string' ? error.stack : undefined);

// What a method's throw means.
function outcomeOfThrown(name, error) {
  if (error === NOT_JSON || isBug(error)) return failed(name + ': ' + thrownText(error), stackOf(error), places[name]);
  if (error instanceof Rejected) return rejection(name, error.message, error.data, true);
  if (error instanceof Error) {
    const message = String(error.message);
    if (message !== '') return rejection(name, message, error.data, false);
    // Rust knows how to read the place out of the stack.
    const json = rejection(name, String(error.name) + ' without a message', error.data, false);
    return json[0] === 'R' ? 'E' + stringify({ rejection: json, stack: stackOf(error) }) : json;
  }
  return failed(name + ' ' + thrownText(error), undefined, places[name]);
}

function rejection(name, message, data, strict) {
  message = message.toWellFormed();
  if (data !== undefined) {
    try {
      checkedText(data);
    } catch (error) {
      if (error !== NOT_JSON) throw error;
      if (strict) return failed(name + ' rejected with ' + (complaint(data, 'data') ?? 'what JSON cannot hold'), undefined, places[name]);
      data = undefined;
    }
  }
  const json = stringify({ message, data });
  // What is logged is bounded, whatever it says.
  if (json.length > lengthMax) {
    return failed(
      name + ' rejected with ' + json.length + ' characters of JSON; at most ' + lengthMax + ' are allowed', undefined,
      places[name],
    );
  }
  return 'R' + json;
}
