# An application on the cluster of quickstart. Sourced by inside.
# shellcheck shell=bash disable=SC2154 # of inside

if [ ! -f "$test_images" ]; then
  skip 'an application' 'there are no images for it'
  return 0
fi
check 'load the test images into the nodes' app_images
try_application
