// What browsers have, and Node.js before version 22 has not.
import { WebSocket } from "ws";

globalThis.WebSocket ??= WebSocket;
