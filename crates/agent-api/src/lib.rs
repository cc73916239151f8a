//! What the agent inside a sandbox answers: the toolbox API.
//!
//! Only words live here: bodies, error codes, the stream format of session logs and the rules that tell one
//! generation of clients from another. Nothing in this crate does I/O, so that server and agent can share it.

mod build;
mod client;
mod code_run;
mod config;
mod error;
mod exec;
mod file;
mod git;
mod git_helper;
mod info;
mod interpreter;
mod lsp;
mod marker;
mod process;
mod pty;
mod run;
mod session;

pub use build::{
    BUILD_FRAME_MAX_BYTES, BuildCopyRequest, BuildCopyResponse, BuildFetchRequest, BuildFetched,
    BuildFrame, BuildInlineFile, BuildRunEnd, BuildRunRequest,
};
pub use client::{
    ClientGeneration, LogForm, SDK_VERSION_HEADER, SOURCE_HEADER, SPLIT_OUTPUT_HEADER,
    WS_VERSION_PREFIX,
};
pub use code_run::{Chart, ChartElement, CodeRunArtifacts, CodeRunRequest, CodeRunResponse};
pub use config::{
    AGENT_TOKEN_HEADER, AgentConfig, CONFIG_FD, EXIT_START_FAILURE, EXIT_UNKNOWN_USER, GIT_FD,
    LIMITS_FD, LIMITS_FD_COUNT, LISTEN_FD,
};
pub use error::{DAEMON_SOURCE, ErrorBody, ErrorCode};
pub use exec::{
    EXEC_INTERACTIVE_PATH, EXEC_PATH, EXEC_STREAM_TYPE, ExecAnswer, ExecCommand, ExecFed, ExecKill,
    ExecList, ExecOutput, ExecRequest, ExecStreamError,
};
pub use file::{
    DownloadRequest, FileInfo, Match, ReplaceRequest, ReplaceResult, SearchFilesResponse,
    UploadOutcome, UploadedFile, WrittenFile,
};
pub use git::{
    FileState, FileStatus, GitAddRemoteRequest, GitAddRequest, GitAuthenticateRequest,
    GitBranchRequest, GitCheckoutRequest, GitCloneRequest, GitCommitInfo, GitCommitRequest,
    GitCommitResponse, GitConfigResponse, GitConfigScope, GitConfigureUserRequest, GitInitRequest,
    GitPullRequest, GitPushRequest, GitRemote, GitResetMode, GitResetRequest, GitRestoreRequest,
    GitSetConfigRequest, GitStatus, ListBranchResponse, ListRemotesResponse, Password,
};
pub use git_helper::{GitFault, GitLine, GitOrder};
pub use info::{
    Dir, InitRequest, IsPortInUseResponse, Message, PortList, SystemMetrics, UpdateEnvRequest,
    Version,
};
pub use interpreter::{
    CLOSE_TIMED_OUT, CreateContextRequest, DEFAULT_CONTEXT, DEFAULT_EXECUTION_SECONDS,
    InterpreterContext, InterpreterMessage, InterpreterMessageKind, InterpreterRequest,
    ListContextsResponse,
};
pub use lsp::{
    CompletionContext, CompletionItem, CompletionList, LspCompletionParams, LspDocumentRequest,
    LspLocation, LspPosition, LspRange, LspServerRequest, LspSymbol,
};
pub use marker::{MarkerWriter, STDERR_MARKER, STDOUT_MARKER, Stream};
pub use process::{ExecuteRequest, ExecuteResponse};
pub use pty::{
    PTY_ENV_PREFIX, PTY_EXIT_CONTROL, PTY_MAX_SIDE, PtyControl, PtyCreateRequest,
    PtyCreateResponse, PtyDeleted, PtyExit, PtyInfo, PtyList, PtyOffer, PtyOfferError,
    PtyResizeRequest, PtySize, PtySizeError, PtyStatus, error_close_reason,
};
pub use run::{
    PieceError, RUN_COMMAND_MAX_BYTES, RUN_PATH, RUN_PIECE_BYTES, RUN_PROTOCOL, RUN_WINDOW_BYTES,
    RunEnd, RunOrder, RunRequest, RunSaid, RunTerminal, SFTP_PATH, SFTP_PROTOCOL,
};
pub use session::{
    Command, CreateSessionRequest, ENTRYPOINT_COMMAND, ENTRYPOINT_SESSION, InputRequest, Session,
    SessionExecRequest, SessionExecResponse, SessionLogs,
};
