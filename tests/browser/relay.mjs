// A relay before the dashboard, which can be cut and opened again: for the browser the
// server is away, or has been started anew.

import { connect, createServer } from "node:net";

/** A relay to the server of `target`; `address` is where it listens. */
export async function relay(target) {
    const { hostname, port } = new URL(target);
    const sockets = new Set();
    let server = null;
    let own = 0;

    const accept = (near) => {
        const far = connect(Number(port), hostname);
        for (const [socket, other] of [[near, far], [far, near]]) {
            sockets.add(socket);
            socket.on("error", () => other.destroy());
            socket.on("close", () => {
                sockets.delete(socket);
                other.destroy();
            });
        }
        near.pipe(far);
        far.pipe(near);
    };
    const open = () =>
        new Promise((resolve, reject) => {
            server = createServer(accept);
            server.once("error", reject);
            server.listen(own, "127.0.0.1", () => {
                own = server.address().port;
                resolve();
            });
        });
    const cut = () =>
        new Promise((resolve) => {
            server.close(resolve);
            for (const socket of sockets) socket.destroy();
        });

    await open();
    return { address: `http://127.0.0.1:${own}`, open, cut };
}
