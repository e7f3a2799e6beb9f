// Whose turn it is - loading, a method, a reducer - and the time and chance that it may know.

const LOADING = 0, METHOD = 1, REDUCER = 2;
const DECIDE = 0, REDUCE = 1;
let running = LOADING;
// The same for Rust, which reads it when there is no stack left to ask anything.
const role = { reducing: false };
let time = 0, elapsed = 0;
// The random stream is seeded when it is first asked for: most calls never do.
let stream = -1, nth = 0;

const random = () => {
  const kind = running === REDUCER ? REDUCE : DECIDE;
  if (stream !== kind) {
    stream = kind;
    host.seed(nth, kind);
  }
  return host.random();
};

function clockError(what, instead) {
  const where = running === REDUCER ? 'a reducer' : 'code that runs at load';
  const advice = running === REDUCER
    ? 'the third argument of reduce has ' + instead + ', the same on every node; or let the method put it into the action'
    : 'a method\'s context has ' + instead;
  return new TypeError(what + ' in ' + where + ' would differ between nodes: ' + advice);
}

function nowFor(what) {
  if (running !== METHOD) throw clockError(what, '`time`');
  return time;
}
