# Sends one HTTP request from inside a container, and prints the status and then the body.
# sys.argv: -c, the method, the URL, seconds. A gateway's token is in its environment, and so in no argv.
import os
import sys
import urllib.error
import urllib.request

token = os.environ.get("EG_AUTH_TOKEN") or os.environ.get("KG_AUTH_TOKEN")
headers = {"Authorization": "token " + token} if token else {}
request = urllib.request.Request(sys.argv[2], method=sys.argv[1], headers=headers)
try:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    answer = opener.open(request, timeout=float(sys.argv[3]))
except urllib.error.HTTPError as error:
    answer = error
except OSError as error:
    sys.exit(str(error))
print(answer.status, answer.read().decode(errors="replace"), sep="\n")
