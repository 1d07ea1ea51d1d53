//! The plane through a kube-rs client, in process.

#[cfg(test)]
mod access;
#[cfg(test)]
mod admission;
#[cfg(test)]
mod applying;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod crud;
#[cfg(test)]
mod definitions;
#[cfg(test)]
mod durable;
#[cfg(test)]
mod garbage;
#[cfg(test)]
mod https;
#[cfg(test)]
mod kubectl;
#[cfg(test)]
mod support;
#[cfg(test)]
mod watching;
