//! The control plane: once per connection or command; sans-IO.
