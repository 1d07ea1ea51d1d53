//! Lean Cluster API controllers for the embedded management plane.
