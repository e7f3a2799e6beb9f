// Batches: calls decided and actions applied, on states that are kept in slots.

const slots = [];
let methods = [], names = [], places = {}, lengths = [];
let reducer = null, invariant = null, sampler = null;
let reducerPlace, samplerPlace;
let plain = false; // the 2016 form: methods get their arguments only

// Where the batch in hand has got to; kept outside so that Rust finds it when the batch is cut short.
let current, pending, outcomes = [], decided = 0;
// How long the JSON of an action or a rejection may be.
let lengthMax = 0;

// Frozen, as all that is lent to methods: what they could set on it would be state outside the state.
const plainThis = freeze({
  getProvisionalState: () => current,
  getState() {
    throw new TypeError('a method cannot know the committed state; this.getProvisionalState() is what it is judged on');
  },
});
for (const lent of [plainThis.getProvisionalState, plainThis.getState, random, reject]) {
  if (lent.prototype !== undefined) freeze(lent.prototype);
  freeze(lent);
}

// One context for all methods and one for all reducers, filled anew for each call: making one costs more than a
// small method does.
const lend = (context, functions) => {
  for (const name of keys(functions)) defineProperty(context, name, { value: functions[name], enumerable: true });
  return Object.seal(context);
};
const methodContext = lend({ state: undefined, time: 0, elapsed: 0, origin: '', index: 0 }, { random, reject });
const reducerContext = lend({ index: 0, time: 0, elapsed: 0, origin: '' }, { random });
const samplerContext = lend({}, { random });

const place = (fn) => {
  try {
    const { fileName, lineNumber } = fn;
    return typeof fileName === 'string' && lineNumber > 0 ? fileName + ':' + lineNumber : undefined;
  } catch {
    return undefined;
  }
};

// Reduces; gives the failure as text, or undefined and leaves the new state in `pending`.
function step(action, index, origin) {
  running = REDUCER;
  role.reducing = true;
  stream = -1;
  let next;
  try {
    reducerContext.index = index;
    reducerContext.time = time;
    reducerContext.elapsed = elapsed;
    reducerContext.origin = origin;
    next = reducer(current, action, reducerContext);
  } catch (error) {
    if (isOutOfMemory(error)) throw error;
    return failed('reduce: ' + thrownText(error), stackOf(error), reducerPlace);
  }
  if (next === current) return undefined;
  if (next === undefined) {
    return failed(
      'reduce returned undefined: return the state, unchanged when the action is unknown', undefined, reducerPlace,
    );
  }
  try {
    pending = settle(next, 0);
  } catch (error) {
    if (error !== NOT_JSON) {
      if (isOutOfMemory(error)) throw error;
      return failed('reduce: ' + thrownText(error), stackOf(error), reducerPlace);
    }
    if (next instanceof Promise) {
      return failed('reduce returned a Promise; a reducer is synchronous', undefined, reducerPlace);
    }
    return failed('reduce returned ' + (complaint(next, 'state') ?? 'what JSON cannot hold'), undefined, reducerPlace);
  }
  return undefined;
}

// `text`: [[...origins], [method, ...arguments], ...], where the origins come in runs: a name, and how many calls it
// is for. Gives one line a call.
function decide(text, from, to, base, first, now, since, length, reduces) {
  const calls = parse(text);
  current = slots[from];
  outcomes = [];
  decided = 0;
  lengthMax = length;
  time = now;
  elapsed = since;
  let index = base + 1;
  const origins = calls[0];
  let origin, turn = 0, run = 1, written = 0;
  for (let i = 1; i < calls.length; i++) {
    const call = calls[i];
    const method = call[0];
    if (i === run) {
      origin = origins[turn];
      run += origins[turn + 1];
      turn += 2;
    }
    const name = names[method];
    let outcome;
    pending = current;
    running = METHOD;
    role.reducing = false;
    stream = -1;
    nth = first + i - 1;
    let action = null;
    try {
      if (name === undefined) {
        outcome = failed('there is no method ' + show(method) + '; the methods are ' + join(names, ', '));
      } else if (plain) {
        action = apply(methods[method], plainThis, apply(ArrayPrototype_slice, call, [1]));
      } else {
        methodContext.state = current;
        methodContext.time = time;
        methodContext.elapsed = elapsed;
        methodContext.origin = origin;
        methodContext.index = index;
        call[0] = methodContext;
        action = apply(methods[method], undefined, call);
      }
      if (action === null || action === undefined) {
        outcome ??= 'N';
      } else if (action instanceof Error) {
        outcome = outcomeOfThrown(name, action);
      } else {
        const json = checkedText(action);
        if (json.length > length) {
          outcome = failed(
            name + ' returned an action of ' + json.length + ' characters of JSON; at most ' + length + ' are allowed',
            undefined, places[name],
          );
        } else if (reduces) {
          outcome = step(sealAction(parse(json)), index, origin);
          if (outcome === undefined) {
            outcome = 'A' + json;
            index++;
          }
        } else {
          outcome = 'A' + json;
        }
      }
    } catch (error) {
      if (isOutOfMemory(error)) throw error;
      if (error !== NOT_JSON) outcome = outcomeOfThrown(name, error);
      else if (action instanceof Promise) {
        outcome = failed(
          name + ' returned a Promise; a method is synchronous: fetch first, then perform with the result',
          undefined, places[name],
        );
      } else outcome = failed(name + ' returned ' + (complaint(action, 'action') ?? 'what JSON cannot hold'), undefined, places[name]);
    }
    // Memory may run out in the next line; after it the call counts, with no branch at which it could be cut short.
    outcomes[decided] = outcome;
    current = pending;
    decided++;
    // A batch is to stay small enough for the log: what waits goes into the next one.
    written += outcome.length;
    if (written > 2 * length) break;
  }
  return keep(to);
}

// Ends a batch, whole or cut short: keeps the state and hands over what was decided.
function keep(to) {
  const text = join(outcomes, '\n');
  slots[to] = current;
  current = pending = methodContext.state = undefined;
  outcomes = [];
  running = LOADING;
  return text;
}

// `text`: [[...origins], action, ...], all to be applied; `base` is the place before the first. Gives a failure, or
// the empty string.
function reduceAll(text, from, to, base, now, since) {
  const actions = parse(text);
  current = slots[from];
  time = now;
  elapsed = since;
  decided = 0;
  const origins = actions[0];
  let origin, turn = 0, run = 1;
  for (let i = 1; i < actions.length; i++) {
    nth = i - 1;
    if (i === run) {
      origin = origins[turn];
      run += origins[turn + 1];
      turn += 2;
    }
    pending = current;
    const failure = step(sealAction(actions[i]), base + i, origin);
    if (failure !== undefined) {
      running = LOADING;
      current = pending = undefined;
      return failure;
    }
    current = pending;
    decided++;
  }
  slots[to] = current;
  current = pending = undefined;
  running = LOADING;
  return '';
}

const write = (slot) => stringify(slots[slot]);

function read(slot, text) {
  slots[slot] = seal(parse(text));
}

function copy(from, to) {
  slots[to] = slots[from];
}

function release(slot) {
  slots[slot] = undefined;
}

// Undefined where there is no invariant; '' where it holds; else what it says.
function holds(slot) {
  if (invariant === null) return undefined;
  running = REDUCER;
  try {
    const said = invariant(slots[slot]);
    if (said === undefined || said === null || said === true) return '';
    if (said === false) return 'it is false';
    if (typeof said === 'string') return said;
    if (said instanceof Error) return messageOf(said);
    if (said instanceof Promise) return 'it returned a Promise; an invariant is synchronous';
    return 'it returned ' + show(said) + ', which is neither true, false, a text nor an Error';
  } catch (error) {
    return error instanceof Error && !isBug(error) ? messageOf(error) : thrownText(error);
  } finally {
    running = LOADING;
  }
}

// An empty text would say that it holds.
const messageOf = (error) => String(error.message) || 'it is an Error without a message';

// A call that the script makes up: S and the JSON of its name and arguments; '' where there is none this time; or a
// failure.
function invent() {
  running = METHOD;
  role.reducing = false;
  stream = -1;
  // It is no batch's: no clock has come so far.
  nth = time = elapsed = 0;
  let call;
  try {
    call = sampler(samplerContext);
    if (call === null || call === undefined) return '';
    if (!isArray(call) || typeof call[0] !== 'string') {
      const what = call instanceof Promise ? 'a Promise'
        : isArray(call) && call.length > 0 ? 'an array that begins with ' + show(call[0]) : show(call);
      return failed(
        'sample returned ' + what + '; it returns [name, ...arguments], or null for nothing this time', undefined,
        samplerPlace,
      );
    }
    for (let i = 0; i < names.length; i++) if (names[i] === call[0]) return 'S' + checkedText(call);
    return failed(
      'sample returned a call of ' + show(call[0]) + ', and there is no such method; the methods are ' + join(names, ', '),
      undefined, samplerPlace,
    );
  } catch (error) {
    if (isOutOfMemory(error)) throw error;
    if (error !== NOT_JSON) return failed('sample: ' + thrownText(error), stackOf(error), samplerPlace);
    return failed('sample returned ' + (complaint(call, 'call') ?? 'what JSON cannot hold'), undefined, samplerPlace);
  } finally {
    running = LOADING;
  }
}
