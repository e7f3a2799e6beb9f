// Takes its time on purpose: each append spins for as long as it is told.
export const initialState = []

export const methods = {
  append({ reject }, rounds) {
    let n = 0
    for (let i = 0; i < rounds; i += 1) n = (n * 31 + i) % 1000003
    return { type: 'APPEND', n }
  },
}

export function reduce(state, action) {
  return [...state.slice(-99), action.n]
}
