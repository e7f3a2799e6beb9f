// A todo list that several nodes agree on.
//
//   conflux dev app.js          then:  add "buy milk"    done 1    :state
//   conflux check app.js        looks for what would make nodes differ

/**
 * @typedef {{ id: number, title: string, done: boolean }} Todo
 * @typedef {{ next: number, todos: Todo[] }} State
 * @typedef {{ type: 'ADDED', title: string } | { type: 'DONE', id: number } | { type: 'CLEARED' }} Action
 */

/** @type {State} */
export const initialState = { next: 1, todos: [] }

/**
 * What can be asked for. A method runs on one node, on the newest state: it returns an action, or nothing, or rejects.
 *
 * @type {import('./conflux').Methods<State, Action>}
 */
export const methods = {
  add({ state, reject }, /** @type {string} */ title) {
    if (typeof title !== 'string' || title.trim() === '') reject('a todo needs a title, as in: add "buy milk"')
    if (state.todos.some((todo) => !todo.done && todo.title === title)) reject(`"${title}" is on the list already`)
    return { type: 'ADDED', title }
  },

  done({ state, reject }, /** @type {number} */ id) {
    const todo = state.todos.find((todo) => todo.id === id)
    if (!todo) return reject(`there is no todo ${id}`)
    if (todo.done) return null // nothing to do
    return { type: 'DONE', id }
  },

  clear({ state }) {
    return state.todos.some((todo) => todo.done) ? { type: 'CLEARED' } : null
  },
}

/**
 * What an action does. The reducer runs on every node, and depends on nothing but its arguments.
 *
 * @type {import('./conflux').Reducer<State, Action>}
 */
export function reduce(state, action) {
  switch (action.type) {
    case 'ADDED':
      return {
        next: state.next + 1,
        todos: [...state.todos, { id: state.next, title: action.title, done: false }],
      }
    case 'DONE':
      return { ...state, todos: state.todos.map((todo) => (todo.id === action.id ? { ...todo, done: true } : todo)) }
    case 'CLEARED':
      return { ...state, todos: state.todos.filter((todo) => !todo.done) }
    default:
      return state
  }
}

/**
 * What must hold in every state; the simulator looks for a way to break it.
 *
 * @type {import('./conflux').Invariant<State>}
 */
export function invariant(state) {
  const ids = state.todos.map((todo) => todo.id)
  return new Set(ids).size === ids.length && ids.every((id) => id < state.next)
}
