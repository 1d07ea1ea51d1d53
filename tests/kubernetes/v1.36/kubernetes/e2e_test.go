// Package kubernetes keeps the end-to-end tests of Kubernetes among the requirements of this module.
package kubernetes

import _ "k8s.io/kubernetes/test/e2e"
