export const initialState = { n: 0 }
export const methods = { up: () => ({ type: 'UP' }) }
export const reduce = ({ n }) => ({ n: n + 1 })
export const invariant = ({ n }) => n < 1
