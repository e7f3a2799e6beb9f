export const initialState = { n: -1 }
export const methods = { mend() { return {} } }
export const reduce = () => ({ n: 1 })
export const invariant = (state) => state.n >= 0 || 'n is negative'
