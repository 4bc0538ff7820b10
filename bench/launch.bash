# Runs a program once for each line of stdin and prints the milliseconds that each run took, or `failed` and its answer.
#
#   bash launch.bash PROGRAM < CALLS        a call: CNI_COMMAND, CNI_CONTAINERID, CNI_IFNAME, CNI_ARGS and the
#                                           network configuration, separated by U+001F
#
# A shell is small: forking the load generator itself would cost several milliseconds more each time, and none of that is
# the plugin's.
set -u
export CNI_COMMAND CNI_CONTAINERID CNI_IFNAME CNI_ARGS CNI_NETNS=/var/run/netns/none CNI_PATH=/opt/cni/bin
while IFS=$'\x1f' read -r CNI_COMMAND CNI_CONTAINERID CNI_IFNAME CNI_ARGS config; do
  start=${EPOCHREALTIME//[.,]/}
  answer=$("$1" <<<"$config") || { printf 'failed %s\n' "${answer//$'\n'/ }"; continue; }
  end=${EPOCHREALTIME//[.,]/}
  printf '%s.%03d\n' $(((end - start) / 1000)) $(((end - start) % 1000))
done
