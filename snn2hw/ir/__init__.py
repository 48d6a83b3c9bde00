"""The nouns of the compiler: frozen values that check themselves at birth."""
