// A list of words on which all nodes agree.
export const initialState = []

export const methods = {
  append({ state, reject }, word) {
    if (typeof word !== 'string') reject('a word is a string')
    if (word.length > 80) reject('too long')
    return { type: 'APPEND', word }
  },
}

export function reduce(state, action) {
  return action.type === 'APPEND' ? [...state, action.word] : state
}

export function invariant(state) {
  return state.every((word) => word.length <= 80)
}
