// What a throw means: a rejection, or a bug.

class Rejected {
  constructor(message, data) {
    this.message = message;
    this.data = data;
  }
}

function reject(message, data) {
  const text = message === undefined ? 'rejected' : message instanceof Error ? String(message.message) : String(message);
  throw new Rejected(text, data);
}

const isBug = (error) =>
  error instanceof TypeError || error instanceof ReferenceError || error instanceof RangeError
  || error instanceof SyntaxError || error instanceof InternalError || error instanceof URIError
  || error instanceof EvalError;
// Where there is not even memory for an error, the engine throws null.
const isOutOfMemory = (error) => error === null || (error instanceof InternalError && error.message === 'out of memory');

const MESSAGE_MAX = [0, 4096];
const String_slice = String.prototype.slice;
const shortened = (text) => (text.length > MESSAGE_MAX[1] ? apply(String_slice, text, MESSAGE_MAX) + '…' : text);

// A failure as Rust reads it: kind F, and JSON.
const failed = (message, stack, at) =>
  'F' + stringify({ message: shortened(message).toWellFormed(), stack: stack === undefined ? stack : stack.toWellFormed(), at });

function thrownText(error) {
  if (error instanceof Error) return String(error.name) + ': ' + String(error.message);
  if (error instanceof Rejected) return 'reject(' + stringify(error.message) + ')';
  return 'threw ' + show(error) + '; throw an Error instead';
}

const stackOf = (error) => (error instanceof Error && typeof error.stack === 'string' ? error.stack : undefined);

// What a method's throw means.
function outcomeOfThrown(name, error) {
  if (error === NOT_JSON || isBug(error)) return failed(name + ': ' + thrownText(error), stackOf(error), places[name]);
  if (error instanceof Rejected) return rejection(name, error.message, error.data, true);
  if (error instanceof Error) return rejection(name, String(error.message), error.data, false);
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
