export const initialState = { n: 0 }
export const methods = { boom() { return {} }, mend() { return { up: true } } }
export const reduce = (state, action) => ({ n: action.up ? 1 : -1 })
export const invariant = (state) => state.n >= 0 || 'n is negative'
