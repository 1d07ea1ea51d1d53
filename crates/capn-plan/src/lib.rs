//! Pure decisions of the provider: from what was observed to the next step.
