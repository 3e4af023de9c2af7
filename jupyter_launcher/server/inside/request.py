# Sends one HTTP request from inside a container, and prints the status and then the body.
# sys.argv: -c, the method, the URL, seconds for the whole of it. A gateway's token is in the environment, and so in
# no argv: the launcher's KG_AUTH_TOKEN, or what the gateway's container has. Redirections are not followed.
# After them may come `any-certificate`: the URL may be an https:// one, and nobody looks whose certificate it is. That
# is for a gateway's own container, which asks itself.
# The exit code is 7 where no connection can be made, and 1 where another fault keeps an answer away, or the URL is no
# http:// one.
import http.client
import os
import signal
import ssl
import sys
import urllib.parse

LIMIT = 2**20  # bytes of the body
CONNECT_SECONDS = 3  # what is sent to an address that does not answer by then is most likely lost
method, url, seconds = sys.argv[1], urllib.parse.urlsplit(sys.argv[2]), float(sys.argv[3])
is_secure = url.scheme == "https" and sys.argv[4:] == ["any-certificate"]
if url.scheme != "http" and not is_secure:
    sys.exit("%s is not asked from inside, only http" % (url.scheme or "a URL without a scheme"))
# The time-out of a socket is for each read, this is for all of them.
signal.signal(signal.SIGALRM, lambda *_: sys.exit("no answer within %g s" % seconds))
signal.setitimer(signal.ITIMER_REAL, seconds)
token = os.environ.get("KG_AUTH_TOKEN") or os.environ.get("EG_AUTH_TOKEN")
headers = {"Authorization": "token " + token} if token else {}
try:
    patience = min(seconds, CONNECT_SECONDS)
    if is_secure:
        anybody = ssl._create_unverified_context()  # noqa: S323 - see above
        connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=patience, context=anybody)
    else:
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=patience)
    connection.connect()
except OSError as error:
    print(str(error) or type(error).__name__, file=sys.stderr)
    sys.exit(7)
try:
    connection.sock.settimeout(seconds)
    connection.request(method, urllib.parse.urlunsplit(("", "", url.path, url.query, "")), headers=headers)
    answer = connection.getresponse()
    body = answer.read(LIMIT + 1)
except (OSError, http.client.HTTPException) as error:
    sys.exit(str(error) or type(error).__name__)
if len(body) > LIMIT:
    sys.exit("more than %d bytes" % LIMIT)
print(answer.status, body.decode(errors="replace"), sep="\n")
