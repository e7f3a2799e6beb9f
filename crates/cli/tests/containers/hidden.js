// Wrong on purpose: the reducer counts in a variable that no other node has.
let count = 0

export const initialState = { total: 0 }

export const methods = {
  add() {
    return { type: 'ADD' }
  },
}

export function reduce(state, action) {
  count += 1
  return { total: state.total + count }
}
