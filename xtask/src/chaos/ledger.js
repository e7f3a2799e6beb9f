// The container that `cargo xtask chaos` runs. Every action leaves one entry, TAG@PLACE-BEFORE, so the state is the log, and
// a place is the number of its entry. `drop` takes away entries that the harness holds already.
export const initialState = { dropped: 0, entries: [] }

const place = (state) => state.dropped + state.entries.length

const append = (state, caller, number, ballast) =>
  ({ type: 'APPEND', tag: `${caller}.${number}`, seen: place(state), ballast: 'x'.repeat(ballast) })

export const methods = {
  append({ state }, caller, number, ballast) {
    return append(state, caller, number, ballast)
  },
  // What comes of it depends on the place alone, so that anybody can judge it again.
  judge({ state, reject }, caller, number, ballast) {
    const seen = place(state)
    const lot = (seen + number) % 3
    if (lot === 0) reject('not at this place', { seen })
    return lot === 1 ? null : append(state, caller, number, ballast)
  },
  drop({ state, reject }, caller, number, upTo) {
    if (upTo > place(state)) reject(`there are ${place(state)} entries`, { seen: place(state) })
    return { type: 'DROP', tag: `${caller}.${number}`, seen: place(state), upTo }
  },
  crash() {
    return thereIsNoSuchVariable
  },
}

export function reduce(state, action) {
  const entries = [...state.entries, `${action.tag}@${action.seen}`]
  if (action.type !== 'DROP') return { dropped: state.dropped, entries }
  const dropped = Math.max(state.dropped, action.upTo)
  return { dropped, entries: entries.slice(dropped - state.dropped) }
}

export function invariant(state) {
  return state.entries.every((entry, nth) => entry.endsWith(`@${state.dropped + nth}`))
}
