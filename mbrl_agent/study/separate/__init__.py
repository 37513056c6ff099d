"""Why does resampling work? Its effects, separated: values, derivatives, and the smoothing of the reward."""
