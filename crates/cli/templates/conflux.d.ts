// What conflux gives to a container written in JavaScript, and what it expects of it.

/** What JSON can hold. Actions and states are made of nothing else. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

/** What a state looks like to a method or a reducer: it is frozen, and changing it throws. */
export type Frozen<T> = T extends object ? { readonly [K in keyof T]: Frozen<T[K]> } : T

/** What methods and reducers may know of the world. */
export interface Context {
  /** The place that the action takes: 1, 2, 3 and so on. */
  readonly index: number
  /** Milliseconds since 1970, the same on every node. For people. */
  readonly time: number
  /** For how many milliseconds this history has been served. The clock for leases and other expiry. */
  readonly elapsed: number
  /** The node at which the method was performed. */
  readonly origin: string
  /** A number from 0 up to 1, the same on every node. */
  random(): number
}

/** The first argument of every method. */
export interface MethodContext<State> extends Context {
  /** The newest state, with every action before this one. */
  readonly state: Frozen<State>
  /** Refuses the call: the caller is told the message, and `data` if there is any. */
  reject(message: string, data?: Json): never
}

/** Returns an action; or nothing, where there is nothing to do. Throwing an `Error` rejects, too. */
export type Method<State, Action> = (context: MethodContext<State>, ...args: any[]) => Action | null | undefined

/** The methods by their names. */
export type Methods<State, Action> = { readonly [name: string]: Method<State, Action> }

/** Gives the state after an action, and leaves the one before it as it was. */
export type Reducer<State, Action> = (state: Frozen<State>, action: Frozen<Action>, context: Context) => Frozen<State>

/** Whether a state is as it must be. */
export type Invariant<State> = (state: Frozen<State>) => boolean

/** Makes a call up, for a simulation: the name of a method and its arguments; or null, for nothing this time. */
export type Sample = (context: Pick<Context, 'random'>) => [name: string, ...args: Json[]] | null
