// The form of the first conflux, of 2016: what a method returns is the action, here the word itself.
module.exports = {
  methods: {
    append: function (thing) {
      // The state that this call is judged on; an Error is a refusal, null means that there is nothing to do.
      var words = this.getProvisionalState()
      if (typeof thing !== 'string') return new Error('a word is a string')
      if (words[words.length - 1] === thing) return null
      return thing
    }
  },

  reduce: function (state, action) {
    // Asked with no state and no action, a reducer gives the state to begin with.
    if (state === undefined) return []
    return state.concat(action)
  }
}
