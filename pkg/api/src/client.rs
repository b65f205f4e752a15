use crate::{
    Channel, Context, Status,
    message::{
        Empty, FieldMask, Mount, content,
        image::{self, Image},
        snapshot,
        task::{self, Container, Process},
    },
};
use prost::Message;
use std::{path::Path, time::Duration};

/// Where the system's containerd listens.
pub const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// containerd in one namespace. Every method fails with containerd's own status.
#[derive(Clone)]
pub struct Containerd {
    channel: Channel,
    context: Context,
}

impl Containerd {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// [`Code::Unavailable`](crate::Code::Unavailable) when nobody listens there.
    pub async fn connect(path: &Path, namespace: &str) -> Result<Self, Status> {
        let context = Context { namespace: namespace.to_owned(), ..Context::default() };
        Ok(Self { channel: Channel::connect(path).await?, context })
    }

    /// The same connection, another namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        let context = Context { namespace: namespace.to_owned(), ..Context::default() };
        Self { channel: self.channel.clone(), context }
    }

    /// The same connection and namespace; what is made belongs to the lease.
    #[must_use]
    pub fn with_lease(&self, lease: &str) -> Self {
        let context = Context { lease: Some(lease.to_owned()), ..self.context.clone() };
        Self { channel: self.channel.clone(), context }
    }

    /// The same connection and namespace; each call may take this long.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        let context = Context { deadline: Some(deadline), ..self.context.clone() };
        Self { channel: self.channel.clone(), context }
    }

    /// The connection itself.
    #[must_use]
    pub const fn channel(&self) -> &Channel {
        &self.channel
    }

    async fn unary<Req: Message, Res: Message + Default>(
        &self,
        service: &str,
        method: &str,
        request: Req,
    ) -> Result<Res, Status> {
        self.channel.unary(&self.context, &format!("{service}{method}"), request).await
    }

    /// Makes the namespace; [`Code::AlreadyExists`](crate::Code::AlreadyExists) when it is there.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn create_namespace(&self) -> Result<(), Status> {
        let namespace = Namespace { name: self.context.namespace.clone() };
        let request = NamespaceMessage { namespace: Some(namespace) };
        let _: NamespaceMessage =
            self.unary("/containerd.services.namespaces.v1.Namespaces/", "Create", request).await?;
        Ok(())
    }

    /// Makes a lease, which keeps what is made under it from the garbage collector until it is deleted.
    /// [`Code::AlreadyExists`](crate::Code::AlreadyExists) when there is one of that name.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn create_lease(&self, id: &str) -> Result<(), Status> {
        let _: Empty = self.unary(LEASES, "Create", Lease { id: id.to_owned() }).await?;
        Ok(())
    }

    /// Deletes a lease.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn delete_lease(&self, id: &str) -> Result<(), Status> {
        let _: Empty = self.unary(LEASES, "Delete", Lease { id: id.to_owned() }).await?;
        Ok(())
    }

    /// Writes a small blob; [`Code::AlreadyExists`](crate::Code::AlreadyExists) when it is there.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn write_content(&self, request: content::WriteContentRequest) -> Result<(), Status> {
        let method = format!("{}Write", content::SERVICE);
        self.channel.call::<_, content::WriteContentResponse>(&self.context, &method, &[request]).await?;
        Ok(())
    }

    /// Sets the given labels of a blob and leaves its others.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn label_content(&self, info: content::Info) -> Result<(), Status> {
        let update_mask = Some(FieldMask { paths: info.labels.keys().map(|key| format!("labels.{key}")).collect() });
        let request = content::UpdateRequest { info: Some(info), update_mask };
        let _: content::UpdateResponse = self.unary(content::SERVICE, "Update", request).await?;
        Ok(())
    }

    /// Makes an image's record.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn create_image(&self, image: Image) -> Result<(), Status> {
        let _: image::ImageMessage =
            self.unary(image::SERVICE, "Create", image::ImageMessage { image: Some(image) }).await?;
        Ok(())
    }

    /// Replaces an image's record.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn update_image(&self, image: Image) -> Result<(), Status> {
        let _: image::ImageMessage =
            self.unary(image::SERVICE, "Update", image::ImageMessage { image: Some(image) }).await?;
        Ok(())
    }

    /// All images' records.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn list_images(&self) -> Result<Vec<Image>, Status> {
        let request = image::ListImagesRequest { filters: Vec::new() };
        let answer: image::ListImagesResponse = self.unary(image::SERVICE, "List", request).await?;
        Ok(answer.images)
    }

    /// Deletes an image's record; its content goes with the next garbage collection.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn delete_image(&self, name: &str) -> Result<(), Status> {
        let request = image::DeleteImageRequest { name: name.to_owned(), sync: false };
        let _: Empty = self.unary(image::SERVICE, "Delete", request).await?;
        Ok(())
    }

    /// Makes a writable snapshot.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn prepare(&self, request: snapshot::PrepareSnapshotRequest) -> Result<Vec<Mount>, Status> {
        let answer: snapshot::MountsResponse = self.unary(snapshot::SERVICE, "Prepare", request).await?;
        Ok(answer.mounts)
    }

    /// Makes a read-only snapshot.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn view(&self, request: snapshot::PrepareSnapshotRequest) -> Result<Vec<Mount>, Status> {
        let answer: snapshot::MountsResponse = self.unary(snapshot::SERVICE, "View", request).await?;
        Ok(answer.mounts)
    }

    /// All snapshots of this namespace.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn list_snapshots(&self, snapshotter: &str) -> Result<Vec<snapshot::Info>, Status> {
        let request = snapshot::ListSnapshotsRequest { snapshotter: snapshotter.to_owned(), filters: Vec::new() };
        let method = format!("{}List", snapshot::SERVICE);
        let answers: Vec<snapshot::ListSnapshotsResponse> =
            self.channel.call(&self.context, &method, &[request]).await?;
        Ok(answers.into_iter().flat_map(|a| a.info).collect())
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn remove_snapshot(&self, snapshotter: &str, key: &str) -> Result<(), Status> {
        let request = snapshot::StatSnapshotRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
        let _: Empty = self.unary(snapshot::SERVICE, "Remove", request).await?;
        Ok(())
    }

    /// Makes a container's record.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn create_container(&self, container: Container) -> Result<(), Status> {
        let request = task::ContainerMessage { container: Some(container) };
        let _: task::ContainerMessage = self.unary(task::CONTAINERS, "Create", request).await?;
        Ok(())
    }

    /// Deletes a container's record.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn delete_container(&self, id: &str) -> Result<(), Status> {
        let _: Empty =
            self.unary(task::CONTAINERS, "Delete", task::DeleteContainerRequest { id: id.to_owned() }).await?;
        Ok(())
    }

    /// Makes a container's main process, not started yet; its process id.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn create_task(&self, request: task::CreateTaskRequest) -> Result<u32, Status> {
        let answer: task::CreateTaskResponse = self.unary(task::TASKS, "Create", request).await?;
        Ok(answer.pid)
    }

    /// Starts a process that was made.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn start(&self, process: task::ProcessRequest) -> Result<u32, Status> {
        let answer: task::StartResponse = self.unary(task::TASKS, "Start", process).await?;
        Ok(answer.pid)
    }

    /// Waits for a process's end, without a deadline; its exit code.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn wait(&self, process: task::ProcessRequest) -> Result<u32, Status> {
        let context = Context { deadline: None, ..self.context.clone() };
        let method = format!("{}Wait", task::TASKS);
        let answer: task::WaitResponse = self.channel.unary(&context, &method, process).await?;
        Ok(answer.exit_status)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn kill(&self, request: task::KillRequest) -> Result<(), Status> {
        let _: Empty = self.unary(task::TASKS, "Kill", request).await?;
        Ok(())
    }

    /// Makes a further process in a container, not started yet.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn exec(&self, request: task::ExecProcessRequest) -> Result<(), Status> {
        let _: Empty = self.unary(task::TASKS, "Exec", request).await?;
        Ok(())
    }

    /// Closes a process's standard input.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn close_stdin(&self, process: task::ProcessRequest) -> Result<(), Status> {
        let task::ProcessRequest { container_id, exec_id } = process;
        let request = task::CloseIoRequest { container_id, exec_id, stdin: true };
        let _: Empty = self.unary(task::TASKS, "CloseIO", request).await?;
        Ok(())
    }

    /// Deletes a further process that has ended.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn delete_process(&self, process: task::ProcessRequest) -> Result<u32, Status> {
        let answer: task::DeleteResponse = self.unary(task::TASKS, "DeleteProcess", process).await?;
        Ok(answer.exit_status)
    }

    /// Deletes a container's main process that has ended.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn delete_task(&self, id: &str) -> Result<u32, Status> {
        let request = task::DeleteTaskRequest { container_id: id.to_owned() };
        let answer: task::DeleteResponse = self.unary(task::TASKS, "Delete", request).await?;
        Ok(answer.exit_status)
    }

    /// All containers' main processes.
    ///
    /// # Errors
    /// As containerd says.
    pub async fn tasks(&self) -> Result<Vec<Process>, Status> {
        let answer: task::ListTasksResponse = self.unary(task::TASKS, "List", Empty {}).await?;
        Ok(answer.tasks)
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
struct NamespaceMessage {
    #[prost(message, optional, tag = "1")]
    namespace: Option<Namespace>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Namespace {
    #[prost(string, tag = "1")]
    name: String,
}

const LEASES: &str = "/containerd.services.leases.v1.Leases/";

/// `CreateRequest` and `DeleteRequest`, of which the id is set.
#[derive(Clone, PartialEq, Eq, Message)]
struct Lease {
    #[prost(string, tag = "1")]
    id: String,
}
