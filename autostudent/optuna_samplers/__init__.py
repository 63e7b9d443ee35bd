"""Optuna on both sides: our proposer as a sampler for any Optuna user, and Optuna's samplers as proposers."""
