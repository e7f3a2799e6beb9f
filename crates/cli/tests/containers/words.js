// The words example, with one method more for each way in which a call can end.
export const initialState = []

export const methods = {
  append({ state, reject }, word) {
    if (typeof word !== 'string') reject('a word is a string')
    if (word.length > 80) reject('too long')
    return { type: 'APPEND', word }
  },
  clear({ state }) {
    return state.length > 0 ? { type: 'CLEAR' } : null
  },
  crash() {
    return undefinedVariable
  },
}

export function reduce(state, action) {
  switch (action.type) {
    case 'APPEND':
      return [...state, action.word]
    case 'CLEAR':
      return []
    default:
      return state
  }
}
